#!/bin/sh
# Takes out of an image's virtual environment what no program of it reads: tests, headers and sources of libraries, symbols
# for debuggers, second copies of shared objects. Code and data of what stays are the same, to the bit.
# usage: slim.sh VENV [PATTERN ...], with files of site-packages that this image has no use for
set -eu
packages=$(echo "$1"/lib/python3.*/site-packages)
shift
cd "$packages"

find . -type d -name tests -prune -exec rm -rf {} +
# not *.pyi: scikit-image reads its own
find . -type f \( -name '*.a' -o -name '*.h' -o -name '*.hpp' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.cpp' \) -delete
for pattern; do
    found=$(find . -path "./$pattern" -prune -print)
    # a name that has changed must not go by unseen
    [ -n "$found" ] || { echo "slim.sh: there is no $pattern in $packages" >&2; exit 1; }
    echo "$found" | xargs rm -rf
done

# wheels hold no links: a library's three names are three files
find . -type f -name 'lib*.so.*' | sort | while read -r file; do
    for name in "${file%%.so.*}".so*; do
        if [ "$name" != "$file" ] && [ -f "$name" ] && [ ! -L "$name" ] && [ ! -L "$file" ] && cmp -s "$file" "$name"; then
            ln -sf "${file##*/}" "$name"
        fi
    done
done

# not in *.libs, whose files auditwheel has rewritten in ways that strip does not understand
find . -type f \( -name '*.so' -o -name '*.so.*' \) -not -path '*.libs/*' -exec strip --strip-unneeded {} +
du -sm "$packages"
