"""drift tells what an impermanent NixOS root on Btrfs would lose at the next reboot."""

__version__ = "0.1.0"
