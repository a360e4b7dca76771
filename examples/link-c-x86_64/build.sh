#!/usr/bin/env bash
# Compiles the digits model to an object, links it into a C program, runs that on ten test images.
# CPU: the level to compile for (qcc targets lists them); OUT: a folder for the results; QCC: the command.
set -euo pipefail
cd "$(dirname "$0")"
out=${OUT:-$(mktemp -d)}
[ -n "${OUT:-}" ] || trap 'rm -rf "$out"' EXIT
mkdir -p "$out"
model=../digits/digits.tflite
qcc() {
  if [ -n "${QCC:-}" ]; then "$QCC" "$@"; else cargo run --quiet --release -p qcc --bin qcc -- "$@"; fi
}

qcc compile "$model" --symbol digits --cpu "${CPU:-baseline}" -o "$out/digits.o"
qcc compile "$model" --symbol digits --cpu "${CPU:-baseline}" -o "$out/digits.h"
gcc -std=c11 -O2 -Wall -Wextra -I "$out" main.c "$out/digits.o" -o "$out/digits"
"$out/digits" < ../digits/testset_images.bin
