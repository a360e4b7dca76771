#!/usr/bin/env bash
# As link-c-x86_64, cross-compiled for aarch64 Linux and run under qemu.
set -euo pipefail
cd "$(dirname "$0")"
out=${OUT:-$(mktemp -d)}
qcc() { cargo run --quiet --release -p qcc --bin qcc -- "$@"; }
target=(--target aarch64-unknown-linux-gnu --cpu "${CPU:-dotprod}")
qcc compile ../digits/digits.tflite --symbol digits "${target[@]}" -o "$out/digits.o"
qcc compile ../digits/digits.tflite --symbol digits "${target[@]}" -o "$out/digits.h"
aarch64-linux-gnu-gcc -std=c11 -O2 -static -I "$out" ../link-c-x86_64/main.c "$out/digits.o" -o "$out/digits"
for k in 0 1 2 3 4 5 6 7 8 9; do
  printf 'test image %d: ' "$k"
  tail -c +$((k * 64 + 1)) ../digits/testset_images.bin | head -c 64 | qemu-aarch64 -cpu max "$out/digits"
done
