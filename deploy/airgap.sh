#!/usr/bin/env bash
# Gathers every image and wheel of an installation in one folder, and installs from it: docs/deploy/air-gapped.md.
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: airgap.sh list [--gpu] [--monitoring] [--tls]          what an installation needs
       airgap.sh save FOLDER [--gpu] [--monitoring] [--tls]   gather it (needs a way out)
       airgap.sh load FOLDER                                  images into this machine's docker
       airgap.sh push FOLDER REGISTRY                         images into a registry, as REGISTRY/name:tag
       airgap.sh wheels FOLDER VENV                           the command line, into a virtual environment
environment: PYTHON (python3), DOCKER (docker)
USAGE
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
docker=${DOCKER:-docker}
python=${PYTHON:-python3}
fail() { printf 'airgap.sh: %s\n' "$*" >&2; exit 1; }

chosen=()
# the profiles that are asked for, and compose with them
choose() {
    for option; do
        case $option in
            --gpu | --monitoring | --tls) chosen+=(--profile "${option#--}") ;;
            *) fail "unknown option '$option'; expected --gpu, --monitoring or --tls" ;;
        esac
    done
}
compose() { "$docker" compose -f "$here/docker-compose.yml" "${chosen[@]}" "$@"; }
images() { compose config --images | sort -u; }

# name==version of every wheel of the command line, as pip would install them from here
wheels_needed() {
    "$python" -m pip install --quiet --disable-pip-version-check --dry-run --ignore-installed --report - \
        -c "$here/../constraints.txt" "$here/.." | "$python" -c '
import json, sys
print(*sorted("{name}=={version}".format(**one["metadata"]) for one in json.load(sys.stdin)["install"]), sep="\n")'
}

list() {
    # the folder that `save` has written holds what it lists
    if [ -f "$here/images/INDEX" ]; then
        [ $# -eq 0 ] || fail "the folder holds what it was saved with; options are for a clone"
        cut -d' ' -f2 "$here/images/INDEX"
        (cd "$here" && ls wheels/)
    else
        choose "$@"
        images
        wheels_needed
    fi
}

file_of() { printf '%s.tar.gz' "$(printf '%s' "$1" | tr '/:' '__')"; }

save() {
    local folder=$1 image root
    shift
    choose "$@"
    root=$(cd "$here/.." && pwd)
    [ -f "$root/pyproject.toml" ] || fail "save runs from a clone of the repository, where the images are built"
    [ ! -e "$folder" ] || [ -z "$(ls -A "$folder")" ] || fail "$folder is not empty; name a new folder"
    mkdir -p "$folder/images" "$folder/wheels"
    compose build
    images | while read -r image; do
        "$docker" image inspect "$image" </dev/null >/dev/null 2>&1 || "$docker" pull "$image" </dev/null
        echo "saving $image"
        "$docker" save "$image" | gzip >"$folder/images/$(file_of "$image")"
        printf '%s %s\n' "$(file_of "$image")" "$image" >>"$folder/images/INDEX"
    done
    "$python" -m pip wheel --quiet --wheel-dir "$folder/wheels" -c "$root/constraints.txt" "$root"
    mkdir "$folder/deploy"
    # links of the chart lead out of it: copied as what they lead to; secrets stay here
    (cd "$here" && tar -ch --exclude=./secrets/* --exclude=./.env --exclude=./caddy/certificates/* .) | tar -x -C "$folder/deploy"
    mkdir -p "$folder/deploy/secrets" "$folder/deploy/caddy/certificates"
    cp "$here/airgap.sh" "$folder/"
    (cd "$folder" && find . -type f ! -name SHA256SUMS -print0 | sort -z | xargs -0 sha256sum >SHA256SUMS)
    du -sh "$folder"
}

check() {
    [ -f "$1/images/INDEX" ] || fail "$1 was not written by 'airgap.sh save'"
    (cd "$1" && sha256sum --quiet -c SHA256SUMS) || fail "$1 is damaged: copy it again"
}

load() {
    check "$1"
    while read -r file _; do gunzip -c "$1/images/$file" | "$docker" load; done <"$1/images/INDEX"
}

push() {
    local image target
    load "$1"
    while read -r _ image; do
        target=${2%/}/${image##*/}
        # the chart asks for its own images as REGISTRY/medcoss/name
        case $image in medcoss/*) target=${2%/}/$image ;; esac
        "$docker" tag "$image" "$target"
        "$docker" push "$target" </dev/null
    done <"$1/images/INDEX"
}

wheels() {
    check "$1"
    "$python" -m venv "$2"
    "$2/bin/python" -m pip install --quiet --no-index --find-links "$1/wheels" medcoss
    "$2/bin/medcoss" --help >/dev/null
    echo "installed: $2/bin/medcoss"
}

command=${1:-}
[ $# -eq 0 ] || shift
case $command in
    list) list "$@" ;;
    save) [ $# -ge 1 ] || { usage >&2; exit 2; }; save "$@" ;;
    load) [ $# -eq 1 ] || { usage >&2; exit 2; }; load "$@" ;;
    push) [ $# -eq 2 ] || { usage >&2; exit 2; }; push "$@" ;;
    wheels) [ $# -eq 2 ] || { usage >&2; exit 2; }; wheels "$@" ;;
    -h | --help | help) usage ;;
    *) usage >&2; exit 2 ;;
esac
