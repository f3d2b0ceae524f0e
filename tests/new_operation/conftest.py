"""The files of the toy operation are tests of a copy of the tree, not of this one."""

collect_ignore_glob = ["*"]
