#!/bin/sh
# Builds the collector described in builder.yaml. Usage: build.sh [OUTPUT]
# Does nothing when OUTPUT is newer than builder.yaml and this script. Needs Go; modules come by Go's own settings.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
output=${1:-$here/.build/otelcol-agent}
case $output in /*) ;; *) output=$PWD/$output ;; esac

if [ -x "$output" ] && [ "$output" -nt "$here/builder.yaml" ] && [ "$output" -nt "$here/build.sh" ]; then
    echo "up to date: $output"
    exit 0
fi

version=$(sed -n 's/^  version: //p' "$here/builder.yaml")
source=$here/.build/src
export CGO_ENABLED=0
mkdir -p "$(dirname -- "$output")" "$source"

# Generate the sources, then compile them here: the builder itself cannot be told another output file.
cd "$here"
go run "go.opentelemetry.io/collector/cmd/builder@v$version" --config builder.yaml --skip-compilation
cd "$source"
# A new name, then a rename: a running collector keeps its file, a cut build leaves no half binary.
go build -trimpath -ldflags '-s -w' -o "$output.new" .
mv -f "$output.new" "$output"
echo "built: $output"
