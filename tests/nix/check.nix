# Checks a module's `environment.persistence` or `preservation.preserveAt` as the options of these
# modules would, and gives what they would do with it. `homes` are users' homes and groups.
{ module, homes }:
let
  arguments = builtins.mapAttrs (name: _: throw "module argument ${name}") (
    builtins.functionArgs module
  );
  config = if builtins.isFunction module then module arguments else module;
  check = condition: message: value: if condition then value else throw message;
  known =
    what: names: set:
    let
      unknown = builtins.filter (name: !builtins.elem name names) (builtins.attrNames set);
    in
    check (builtins.isAttrs set) "${what} is no set" (
      check (unknown == [ ]) "${what} has no option ${toString unknown}" set
    );
  strings =
    what: names: set:
    builtins.foldl' (
      checked: name:
      check (
        !(set ? ${name}) || builtins.isString set.${name}
      ) "${what}.${name} is no string" checked
    ) set names;
  absolute = path: builtins.substring 0 1 path == "/";
  join = base: path: if base == null then path else "${base}/${path}";

  modules = {
    impermanence = {
      top = [
        "enable"
        "hideMounts"
        "allowTrash"
        "persistentStoragePath"
        "directories"
        "files"
        "users"
      ];
      directory = [
        "directory"
        "user"
        "group"
        "mode"
        "hideMount"
        "allowTrash"
      ];
      file = [
        "file"
        "method"
        "parentDirectory"
      ];
      how = "method";
      ways = [
        "auto"
        "symlink"
      ];
      parent = "parentDirectory";
    };
    preservation = {
      top = [
        "persistentStoragePath"
        "directories"
        "files"
        "users"
        "commonMountOptions"
      ];
      directory = [
        "directory"
        "how"
        "user"
        "group"
        "mode"
        "configureParent"
        "parent"
        "inInitrd"
      ];
      file = [
        "file"
        "how"
        "user"
        "group"
        "mode"
        "configureParent"
        "parent"
        "inInitrd"
      ];
      how = "how";
      ways = [
        "bindmount"
        "symlink"
      ];
      parent = "parent";
    };
  };

  store =
    kind: name: value:
    let
      options = modules.${kind};
      owner = user: group: {
        inherit user group;
        mode = "0755";
      };
      permissions = [
        "user"
        "group"
        "mode"
      ];

      directory =
        home: default: given:
        let
          entry = if builtins.isString given then { directory = given; } else given;
          checked = strings "directory" ([ "directory" ] ++ permissions) (
            known "directory" options.directory entry
          );
          path = join home checked.directory;
        in
        check (absolute path) "${path} is not absolute" (
          default
          // {
            inherit path;
          }
          // builtins.intersectAttrs default checked
          // builtins.intersectAttrs { inInitrd = null; } checked
        );

      file =
        home: default: given:
        let
          entry = if builtins.isString given then { file = given; } else given;
          checked = strings "file" ([ "file" ] ++ permissions) (known "file" options.file entry);
          path = join home checked.file;
          way = checked.${options.how} or (builtins.head options.ways);
          parent = strings options.parent permissions (
            known options.parent permissions (checked.${options.parent} or { })
          );
        in
        check (absolute path) "${path} is not absolute" (
          check (builtins.elem way options.ways) "${path}: no ${options.how} ${way}" (
            {
              inherit path way;
              parent = default // parent;
            }
            // builtins.intersectAttrs {
              user = null;
              group = null;
              mode = null;
              inInitrd = null;
            } checked
          )
        );

      lists =
        home: default: set:
        check (builtins.isList (set.directories or [ ])) "directories is no list" (
          check (builtins.isList (set.files or [ ])) "files is no list" {
            directories = map (directory home default) (set.directories or [ ]);
            files = map (file home default) (set.files or [ ]);
          }
        );

      ofUser =
        user:
        check (homes ? ${user}) "no user ${user}" (
          lists homes.${user}.home (owner user homes.${user}.group) (
            known "users.${user}" [
              "directories"
              "files"
            ] value.users.${user}
          )
        );

      all = [
        (lists null (owner "root" "root") (known name options.top value))
      ] ++ map ofUser (builtins.attrNames (value.users or { }));

      paths = what: map (entry: entry.path) (builtins.concatMap (part: part.${what}) all);
      unique =
        what: list:
        check (
          builtins.length list == builtins.length (builtins.attrNames (keyed list))
        ) "${what} listed twice";
      keyed =
        list:
        builtins.listToAttrs (
          map (path: {
            name = path;
            value = null;
          }) list
        );
    in
    unique "directory" (paths "directories") (
      unique "file" (paths "files") {
        directories = builtins.concatMap (part: part.directories) all;
        files = builtins.concatMap (part: part.files) all;
      }
    );
in
{
  persistence = builtins.mapAttrs (store "impermanence") (config.environment.persistence or { });
  preservation = builtins.mapAttrs (store "preservation") (config.preservation.preserveAt or { });
  enabled = config.preservation.enable or null;
  tmpfiles = config.systemd.tmpfiles.rules or [ ];
  suppressed = config.systemd.suppressedSystemUnits or [ ];
}
