# As much of nixpkgs' lib as flake.nix and nix/ use. What it lacks fails by its name, and what it
# has is as strict as the original, or stricter: every option needs a description.
let
  inherit (builtins)
    all
    attrNames
    concatMap
    concatStringsSep
    elem
    elemAt
    filter
    genList
    isAttrs
    isBool
    isInt
    isList
    isString
    length
    listToAttrs
    match
    replaceStrings
    stringLength
    substring
    ;

  only =
    what: names: set:
    let
      unknown = filter (name: !elem name names) (attrNames set);
    in
    if unknown == [ ] then set else throw "${what} takes no ${toString unknown}";

  type = name: check: {
    _type = "option-type";
    inherit name check;
  };
in
rec {
  inherit
    all
    concatMap
    listToAttrs
    ;

  # --- values

  genAttrs =
    names: f:
    listToAttrs (
      map (name: {
        inherit name;
        value = f name;
      }) names
    );
  imap0 = f: list: genList (n: f n (elemAt list n)) (length list);
  optional = condition: value: if condition then [ value ] else [ ];
  optionals =
    condition: list:
    if !isList list then
      throw "optionals of no list"
    else if condition then
      list
    else
      [ ];
  optionalString = condition: text: if condition then text else "";
  hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
  hasSuffix =
    suffix: text:
    stringLength text >= stringLength suffix
    && substring (stringLength text - stringLength suffix) (stringLength suffix) text == suffix;
  fixedWidthNumber =
    width: number:
    let
      text = toString number;
    in
    concatStringsSep "" (genList (_: "0") (width - stringLength text)) + text;
  makeBinPath = packages: concatStringsSep ":" (map (package: "${package}/bin") packages);
  getExe =
    package:
    "${package}/bin/${package.meta.mainProgram or (throw "${package.name} names no mainProgram")}";
  getExe' = package: program: "${package}/bin/${program}";
  importTOML = file: builtins.fromTOML (builtins.readFile file);
  isDerivation = value: isAttrs value && value.type or null == "derivation";

  licenses.mit.spdxId = "MIT";
  platforms.linux = [
    "aarch64-linux"
    "x86_64-linux"
  ];

  # Sources are told by their paths.
  fileset = {
    unions =
      paths:
      if all builtins.pathExists paths then paths else throw "no such file in ${toString paths}";
    toSource =
      { root, fileset }:
      {
        root = toString root;
        files = map toString fileset;
      };
  };

  # --- options

  types = {
    bool = type "bool" isBool;
    str = type "str" isString;
    lines = type "lines" isString;
    path = type "path" (value: builtins.isPath value || (isString value && hasPrefix "/" value));
    package = type "package" isDerivation;
    ints.positive = type "positive integer" (value: isInt value && value > 0);
    strMatching =
      pattern:
      type "string matching ${pattern}" (value: isString value && match pattern value != null);
    enum = values: type "one of ${toString values}" (value: elem value values);
    nullOr = inner: type "null or ${inner.name}" (value: value == null || inner.check value);
    listOf = inner: type "list of ${inner.name}" (value: isList value && all inner.check value);
  };

  literalExpression = text: {
    _type = "literalExpression";
    inherit text;
  };

  mkOption =
    arguments:
    let
      option = only "mkOption" [
        "type"
        "default"
        "defaultText"
        "example"
        "description"
      ] arguments;
      fits =
        what:
        !(option ? ${what})
        || option.${what}._type or null == "literalExpression"
        || option.type.check option.${what}
        || throw "an option's ${what} is no ${option.type.name}: ${builtins.toJSON option.${what}}";
    in
    assert option.type._type == "option-type";
    assert option.description != "" || throw "an option without a description";
    assert fits "default" && fits "example";
    option // { _type = "option"; };

  mkEnableOption =
    what:
    mkOption {
      type = types.bool;
      default = false;
      example = true;
      description = "Whether to enable ${what}.";
    };

  mkPackageOption =
    packages: name: arguments:
    mkOption (
      {
        type = types.package;
        description = "The ${name} package to use.";
      }
      // (if packages ? ${name} then { default = packages.${name}; } else { })
      // only "mkPackageOption" [ ] arguments
    );

  # --- definitions

  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkDefault = content: {
    _type = "override";
    priority = 1000;
    inherit content;
  };

  # What NixOS' module argument of this name has.
  utils.escapeSystemdExecArgs =
    arguments:
    concatStringsSep " " (
      map (
        argument:
        if isString argument then
          replaceStrings [ "%" "$" ] [ "%%" "$$" ] (builtins.toJSON argument)
        else
          throw "an argument that is no string"
      ) arguments
    );
}
