"""The sample: a source filled with synthetic people, or with public history completed by them.

`generate` invents everything from a seed; `import_files` replays two public files and completes what they lack. Both
write straight into schema `wellbe` of the source and into no file, and both keep a manifest of the troubles they
planted.
"""
