{
  lib,
  stdenv,
  btrfs-progs,
  python3Packages,
  util-linux,
  versionCheckHook,
}:

let
  inherit (lib.importTOML ../pyproject.toml) project;
in
python3Packages.buildPythonApplication {
  pname = project.name;
  inherit (project) version;
  pyproject = true;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../LICENSE
      ../README.md
      ../drift
      ../hatch_build.py
      ../pyproject.toml
      ../rules
    ];
  };

  build-system = [ python3Packages.hatchling ];

  dependencies = [
    python3Packages.btrfsutil
    python3Packages.click
    python3Packages.humanize
    python3Packages.tabulate
    python3Packages.tree-sitter
    python3Packages.tree-sitter-grammars.tree-sitter-nix
    python3Packages.tree-sitter-grammars.tree-sitter-toml
    python3Packages.xxhash
  ];

  # The binding comes with the library that it was built against, and bears its version. The
  # grammars bear those of their sources, which may be a date.
  pythonRelaxDeps = [
    "btrfsutil"
    "tree-sitter-nix"
    "tree-sitter-toml"
  ];

  nativeCheckInputs = [ versionCheckHook ];

  pythonImportsCheck = [ "drift" ];

  # For `drift demo`, which makes a filesystem and mounts it.
  makeWrapperArgs = [
    "--suffix"
    "PATH"
    ":"
    (lib.makeBinPath [
      btrfs-progs
      util-linux
    ])
  ];

  # Manual pages and completions.
  postInstall = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    ${python3Packages.python.interpreter} -m drift.manual $out
  '';

  meta = {
    inherit (project) description;
    license = lib.licenses.mit;
    mainProgram = "drift";
    platforms = lib.platforms.linux;
  };
}
