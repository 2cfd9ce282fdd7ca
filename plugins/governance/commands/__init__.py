"""The commands of the command line that are not the embedded site's; each module registers its own."""
