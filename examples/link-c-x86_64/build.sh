#!/usr/bin/env bash
# Compiles the digits model to an object, links it into a C program, runs it on ten test images.
set -euo pipefail
cd "$(dirname "$0")"
out=${OUT:-$(mktemp -d)}
qcc() { cargo run --quiet --release -p qcc --bin qcc -- "$@"; }
qcc compile ../digits/digits.tflite --symbol digits -o "$out/digits.o"
qcc compile ../digits/digits.tflite --symbol digits -o "$out/digits.h"
gcc -std=c11 -O2 -Wall -Wextra -I "$out" main.c "$out/digits.o" -o "$out/digits"
for k in 0 1 2 3 4 5 6 7 8 9; do
  printf 'test image %d: ' "$k"
  tail -c +$((k * 64 + 1)) ../digits/testset_images.bin | head -c 64 | "$out/digits"
done
