"""Scripts of runbooks, which run in a program of their own that can reach nothing.

`jail` starts that program and hears it; `launcher` is that program, and shuts itself in before it looks at the script;
`filter` says which system calls it may make then.
"""
