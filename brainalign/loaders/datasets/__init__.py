"""Released data sets, a file each: from the layout of the release, as its spec states it, to `Trials`.

Every loader is called ``load_NAME(spec, root, *, subject, **options)`` by `brainalign.load`.
"""
