# Evaluates NixOS modules as far as services.drift needs it: its own options with their types, and
# of NixOS' those named below. A definition of any other option fails.
{
  lib,
  pkgs,
  modules,
}:
let
  inherit (builtins)
    attrNames
    concatMap
    filter
    foldl'
    functionArgs
    isAttrs
    isFunction
    isList
    isString
    listToAttrs
    mapAttrs
    ;

  any = _: true;
  attributes = isAttrs;
  unit = {
    description = isString;
    wantedBy = isList;
  };
  # An attribute named * stands for any name.
  known = {
    assertions = isList;
    environment = {
      systemPackages = isList;
      loginShellInit = isString;
      etc."*" = {
        source = any;
        text = isString;
      };
    };
    meta.maintainers = isList;
    nixpkgs.hostPlatform = isString;
    systemd = {
      services."*" = unit // {
        postStop = isString;
        serviceConfig = attributes;
      };
      timers."*" = unit // {
        timerConfig = attributes;
      };
      tmpfiles.settings."*"."*" = attributes;
    };
  };

  # --- modules

  arguments = {
    inherit lib pkgs;
    inherit (lib) utils;
    config.services = { inherit drift; };
  };
  called =
    module:
    let
      loaded = if builtins.isPath module then import module else module;
      formals = functionArgs loaded;
    in
    if isFunction loaded then
      loaded (mapAttrs (name: _: arguments.${name}) formals)
    else
      loaded;
  collect = concatMap (
    module:
    let
      one = called module;
      given = removeAttrs one [
        "_file"
        "imports"
        "options"
        "config"
        "meta"
      ];
    in
    collect (one.imports or [ ])
    ++ [
      {
        options = one.options or { };
        config =
          if one ? config || one ? options then
            if given == { } then
              lib.mkMerge [
                (one.config or { })
                { meta = one.meta or { }; }
              ]
            else
              throw "beside options and config: ${toString (attrNames given)}"
          else
            given;
      }
    ]
  );
  all = collect modules;

  # --- definitions: conditions resolved, leaves with their priority

  resolved =
    priority: value:
    if value._type or null == "if" then
      if value.condition then resolved priority value.content else { }
    else if value._type or null == "merge" then
      foldl' merged { } (map (resolved priority) value.contents)
    else if value._type or null == "override" then
      resolved value.priority value.content
    else if isAttrs value && !(lib.isDerivation value) && !(value ? _leaf) then
      { _set = mapAttrs (_: resolved priority) value; }
    else
      {
        _leaf = value;
        inherit priority;
      };
  merged =
    one: other:
    if one == { } then
      other
    else if other == { } then
      one
    else if one ? _set && other ? _set then
      {
        _set =
          one._set
          // mapAttrs (
            name: value: if one._set ? ${name} then merged one._set.${name} value else value
          ) other._set;
      }
    else if one ? _leaf && other ? _leaf then
      if one.priority < other.priority then
        one
      else if other.priority < one.priority then
        other
      else if isList one._leaf && isList other._leaf then
        one // { _leaf = one._leaf ++ other._leaf; }
      else
        throw "two definitions: ${builtins.toJSON one._leaf} and ${builtins.toJSON other._leaf}"
    else
      throw "a set and a value are defined at one place";
  plain =
    value:
    if value ? _leaf then
      value._leaf
    else
      mapAttrs (_: plain) (
        listToAttrs (
          map
            (name: {
              inherit name;
              value = value._set.${name};
            })
            (filter (name: value._set.${name} != { }) (attrNames (value._set or { })))
        )
      );
  definitions = plain (foldl' merged { } (map (module: resolved 100 module.config) all));

  # --- options

  options = foldl' (one: other: one // other) { } (map (module: module.options) all);

  # The values of a tree of options, defaults where nothing is defined.
  values =
    place: tree: given:
    let
      unknown = filter (name: !(tree ? ${name})) (attrNames given);
    in
    if !isAttrs given then
      throw "${place} is no set"
    else if unknown != [ ] then
      throw "there is no option ${place}.${toString unknown}"
    else
      mapAttrs (
        name: option:
        let
          here = "${place}.${name}";
        in
        if option._type or null != "option" then
          values here option (given.${name} or { })
        else if given ? ${name} then
          if option.type.check given.${name} then
            given.${name}
          else
            throw "${here} is no ${option.type.name}: ${builtins.toJSON given.${name}}"
        else
          option.default or (throw "${here} is used and not defined")
      ) tree;

  checked =
    place: tree: given:
    mapAttrs (
      name: value:
      let
        here = "${place}.${name}";
        expected = tree.${name} or tree."*" or (throw "there is no option ${here}");
      in
      if isFunction expected then
        if expected value then value else throw "${here} has another type"
      else
        checked here expected value
    ) given;

  # The definitions of one name, found without asking whether they count: that may depend on them.
  at =
    name: value:
    if value._type or null == "if" then
      map (one: one // { counts = value.condition && one.counts; }) (at name value.content)
    else if value._type or null == "merge" then
      concatMap (at name) value.contents
    else if value ? ${name} then
      [
        {
          counts = true;
          value = value.${name};
        }
      ]
    else
      [ ];
  drift = values "services.drift" options.services.drift (
    plain (
      foldl' merged { } (
        map (one: if one.counts then resolved 100 one.value else { }) (
          concatMap (
            module:
            concatMap (
              services:
              map (one: one // { counts = services.counts && one.counts; }) (at "drift" services.value)
            ) (at "services" module.config)
          ) all
        )
      )
    )
  );

  config =
    assert
      attrNames (definitions.services or { drift = null; }) == [ "drift" ]
      || throw "services.drift alone is known here";
    checked "" known (removeAttrs definitions [ "services" ])
    // {
      services = { inherit drift; };
    };

  described =
    place: tree:
    concatMap (
      name:
      let
        option = tree.${name};
        here = if place == "" then name else "${place}.${name}";
      in
      if option._type or null == "option" then
        [
          {
            name = here;
            inherit (option) description;
            type = option.type.name;
          }
        ]
      else
        described here option
    ) (attrNames tree);
in
{
  inherit config;
  options = described "" options;
}
