"""The commands of `marginwatch`, one file each; `app` registers them."""
