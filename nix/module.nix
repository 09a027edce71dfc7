{
  config,
  lib,
  pkgs,
  utils,
  ...
}:

let
  cfg = config.services.drift;

  reports = "/run/drift-report";

  # What the scan and the guard both ask for.
  request =
    lib.optionals (cfg.live != null) [
      "--live"
      cfg.live
    ]
    ++ lib.optionals (cfg.blank != null) [
      "--blank"
      cfg.blank
    ]
    ++ [
      "--engine"
      cfg.engine
    ]
    ++ lib.concatMap (path: [
      "--persist"
      path
    ]) cfg.persist
    ++ cfg.extraArgs;

  drift =
    arguments: utils.escapeSystemdExecArgs ([ (lib.getExe cfg.package) ] ++ arguments ++ request);

  # No option that gives the service mounts of its own (ProtectSystem=, ProtectHome=, PrivateTmp=,
  # PrivateNetwork=, ReadWritePaths= and the like): drift would take them for mounts of the system
  # and what they cover for kept. PrivateDevices= and ProtectClock= would hide the disk.
  hardening = {
    CapabilityBoundingSet = [
      "CAP_DAC_OVERRIDE"
      # To read without changing the time of access.
      "CAP_FOWNER"
      # To search the trees of the filesystem, and to mount its top level where nobody sees it.
      "CAP_SYS_ADMIN"
    ];
    IPAddressDeny = "any";
    LockPersonality = true;
    MemoryDenyWriteExecute = true;
    NoNewPrivileges = true;
    RestrictAddressFamilies = [ "AF_UNIX" ];
    RestrictNamespaces = "mnt";
    RestrictRealtime = true;
    RestrictSUIDSGID = true;
    SystemCallArchitectures = "native";
    SystemCallErrorNumber = "EPERM";
    SystemCallFilter = [
      "@system-service"
      "@mount"
    ];
    UMask = "0022";
  };

  # Attribute names have no context.
  fileName = file: builtins.unsafeDiscardStringContext (baseNameOf (toString file));

  absolutePath = lib.types.strMatching "/.*";
in
{
  options.services.drift = {
    enable = lib.mkEnableOption "drift, which tells what an impermanent root would lose at the next reboot";

    package = lib.mkPackageOption pkgs "drift" { };

    blank = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "root-blank";
      description = ''
        The blank that the root is restored from: a directory, the name of a subvolume on the same
        filesystem, or `none` for an empty one. With `null` drift finds it.
      '';
    };

    live = lib.mkOption {
      type = lib.types.nullOr absolutePath;
      default = null;
      example = "/mnt";
      description = "Where the live root is mounted. With `null` it is `/`.";
    };

    persist = lib.mkOption {
      type = lib.types.listOf absolutePath;
      default = [ ];
      example = [ "/persist" ];
      description = "Where persistent storage is mounted. Where the list is empty, drift finds it.";
    };

    engine = lib.mkOption {
      type = lib.types.enum [
        "auto"
        "generation"
        "metadata"
        "walk"
      ];
      default = "auto";
      description = "How drift compares the two roots.";
    };

    rules = lib.mkOption {
      type = lib.types.listOf lib.types.path;
      default = [ ];
      example = lib.literalExpression "[ ./plantwatch.toml ]";
      description = ''
        Rule files on top of the shipped ones, for every call of drift on this machine; the later
        wins. They are linked into {file}`/etc/drift/rules.d`.
      '';
    };

    extraArgs = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [
        "--config"
        "/etc/nixos/persistence.nix"
      ];
      description = ''
        More arguments for {command}`drift scan` and {command}`drift guard`, of those that both
        take.
      '';
    };

    timer = {
      enable = lib.mkEnableOption "a scan from time to time" // {
        default = true;
      };

      interval = lib.mkOption {
        type = lib.types.str;
        default = "hourly";
        example = "*:0/15";
        description = ''
          When to scan, besides soon after the boot, in the form that {manpage}`systemd.time(7)`
          describes.
        '';
      };

      randomizedDelay = lib.mkOption {
        type = lib.types.str;
        default = "5min";
        example = "0";
        description = "How much later than that a scan may begin, by chance.";
      };
    };

    prometheus = {
      enable = lib.mkEnableOption "metrics of each scan for node exporter's textfile collector";

      textfileDirectory = lib.mkOption {
        type = absolutePath;
        default = reports;
        example = "/var/lib/prometheus-node-exporter";
        description = ''
          The directory that the collector reads, its `--collector.textfile.directory`. The metrics
          are written to {file}`drift.prom` in it.
        '';
      };
    };

    loginMessage.enable = lib.mkEnableOption "a line in every login shell on a terminal that says what would be lost, as of the last scan";

    rebootGuard = {
      enable = lib.mkOption {
        type = lib.types.bool;
        default = false;
        example = true;
        description = ''
          Whether to hold a reboot back while critical state would be lost, by a shutdown lock of
          logind. {command}`systemctl reboot -i` passes it, and so does the power key, which is set
          to ignore such locks from the next boot on.
        '';
      };

      severity = lib.mkOption {
        type = lib.types.enum [
          "critical"
          "high"
          "normal"
          "low"
        ];
        default = "critical";
        description = "Hold for what is at least as severe.";
      };

      mode = lib.mkOption {
        type = lib.types.enum [
          "block"
          "block-weak"
          "delay"
        ];
        default = "block";
        description = ''
          How the lock works, as {manpage}`systemd-inhibit(1)` describes. Since systemd 257, `block`
          holds root back as well, and so a program that shuts down on low battery; `block-weak`
          lets both pass.
        '';
      };

      every = lib.mkOption {
        type = lib.types.ints.positive;
        default = 5;
        description = ''
          Minutes after which to look again while the lock is held.
          {command}`systemctl reload drift-guard` looks at once.
        '';
      };

      atMost = lib.mkOption {
        type = lib.types.ints.positive;
        default = 12;
        description = "Hours after which the lock is let go, whatever is at stake.";
      };
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.timer.enable || !(cfg.prometheus.enable || cfg.loginMessage.enable);
        message = ''
          services.drift.prometheus and services.drift.loginMessage tell of the last scan:
          services.drift.timer.enable has to be true.
        '';
      }
      {
        assertion = lib.all (file: lib.hasSuffix ".toml" (toString file)) cfg.rules;
        message = "services.drift.rules has to name .toml files: drift reads no others.";
      }
    ];

    environment.systemPackages = [ cfg.package ];

    environment.etc = lib.mkMerge [
      (lib.listToAttrs (
        lib.imap0 (number: file: {
          name = "drift/rules.d/${lib.fixedWidthNumber 3 number}-${fileName file}";
          value.source = file;
        }) cfg.rules
      ))
      (lib.mkIf cfg.rebootGuard.enable {
        "systemd/logind.conf.d/50-drift.conf".text = ''
          [Login]
          PowerKeyIgnoreInhibited=yes
        '';
      })
    ];

    environment.loginShellInit = lib.mkIf cfg.loginMessage.enable ''
      if [ -t 1 ] && [ -r ${reports}/brief ]; then
        cat ${reports}/brief
      fi
    '';

    systemd.services.drift-scan = {
      description = "Tell what the next reboot would lose";
      postStop = lib.mkIf cfg.loginMessage.enable ''
        if [ "$SERVICE_RESULT" != success ]; then
          echo "drift can't tell what the next reboot would lose: journalctl -u drift-scan" \
            > ${reports}/brief
        fi
      '';
      serviceConfig = hardening // {
        Type = "oneshot";
        ExecStart = [
          (drift (
            [
              "scan"
              "--brief"
            ]
            ++ lib.optionals cfg.loginMessage.enable [
              "--output"
              "${reports}/brief"
            ]
          ))
        ]
        ++ lib.optional cfg.prometheus.enable (drift [
          "scan"
          "--prometheus"
          "--output"
          "${cfg.prometheus.textfileDirectory}/drift.prom"
        ]);
        # 4: something could not be read, which the line and the metrics say.
        SuccessExitStatus = "4";
        RuntimeDirectory = baseNameOf reports;
        # The reports are there for others, between the scans.
        RuntimeDirectoryPreserve = true;
        # It can wait.
        CPUSchedulingPolicy = "idle";
        IOSchedulingClass = "idle";
      };
    };

    systemd.timers.drift-scan = lib.mkIf cfg.timer.enable {
      description = "Tell from time to time what the next reboot would lose";
      wantedBy = [ "timers.target" ];
      timerConfig = {
        OnBootSec = "2min";
        OnCalendar = cfg.timer.interval;
        RandomizedDelaySec = cfg.timer.randomizedDelay;
        # A scan that was missed is no loss, and the stamp would be one more state of the root.
        Persistent = false;
      };
    };

    systemd.services.drift-guard = lib.mkIf cfg.rebootGuard.enable {
      description = "Hold a reboot back while critical state would be lost";
      serviceConfig = hardening // {
        Type = "exec";
        ExecStart = drift [
          "guard"
          "--severity"
          cfg.rebootGuard.severity
          "--mode"
          cfg.rebootGuard.mode
          "--every"
          (toString cfg.rebootGuard.every)
          "--at-most"
          (toString cfg.rebootGuard.atMost)
        ];
        ExecReload = "${lib.getExe' pkgs.coreutils "kill"} -USR1 $MAINPID";
        # 1: it has held for as long as it may.
        SuccessExitStatus = "1 4";
        # logind grants the lock to whoever may reboot, also where there is no polkit.
        CapabilityBoundingSet = hardening.CapabilityBoundingSet ++ [ "CAP_SYS_BOOT" ];
      };
    };

    systemd.timers.drift-guard = lib.mkIf cfg.rebootGuard.enable {
      description = "Look from time to time whether a reboot would lose critical state";
      wantedBy = [ "timers.target" ];
      timerConfig = {
        OnBootSec = "5min";
        # While it runs it looks by itself.
        OnUnitInactiveSec = "15min";
      };
    };

    systemd.tmpfiles.settings.drift =
      lib.mkIf (cfg.prometheus.enable && cfg.prometheus.textfileDirectory != reports)
        {
          ${cfg.prometheus.textfileDirectory}.d = { };
        };
  };

  meta.maintainers = [ ];
}
