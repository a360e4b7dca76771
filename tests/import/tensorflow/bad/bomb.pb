
2
xPlaceholder*
dtype0*
shape
:
$
yPartitionedCallx*
fR
f0®)
~

f0
a
r&
onePartitionedCalla*
fR
f11
twoPartitionedCallone:output:0*
fR
f1"
rtwo:output:0
~

f1
a
r&
onePartitionedCalla*
fR
f21
twoPartitionedCallone:output:0*
fR
f2"
rtwo:output:0
~

f2
a
r&
onePartitionedCalla*
fR
f31
twoPartitionedCallone:output:0*
fR
f3"
rtwo:output:0
~

f3
a
r&
onePartitionedCalla*
fR
f41
twoPartitionedCallone:output:0*
fR
f4"
rtwo:output:0
~

f4
a
r&
onePartitionedCalla*
fR
f51
twoPartitionedCallone:output:0*
fR
f5"
rtwo:output:0
~

f5
a
r&
onePartitionedCalla*
fR
f61
twoPartitionedCallone:output:0*
fR
f6"
rtwo:output:0
~

f6
a
r&
onePartitionedCalla*
fR
f71
twoPartitionedCallone:output:0*
fR
f7"
rtwo:output:0
~

f7
a
r&
onePartitionedCalla*
fR
f81
twoPartitionedCallone:output:0*
fR
f8"
rtwo:output:0
~

f8
a
r&
onePartitionedCalla*
fR
f91
twoPartitionedCallone:output:0*
fR
f9"
rtwo:output:0
Ä

f9
a
r'
onePartitionedCalla*
fR
f102
twoPartitionedCallone:output:0*
fR
f10"
rtwo:output:0
Å

f10
a
r'
onePartitionedCalla*
fR
f112
twoPartitionedCallone:output:0*
fR
f11"
rtwo:output:0
Å

f11
a
r'
onePartitionedCalla*
fR
f122
twoPartitionedCallone:output:0*
fR
f12"
rtwo:output:0
Å

f12
a
r'
onePartitionedCalla*
fR
f132
twoPartitionedCallone:output:0*
fR
f13"
rtwo:output:0
Å

f13
a
r'
onePartitionedCalla*
fR
f142
twoPartitionedCallone:output:0*
fR
f14"
rtwo:output:0
Å

f14
a
r'
onePartitionedCalla*
fR
f152
twoPartitionedCallone:output:0*
fR
f15"
rtwo:output:0
Å

f15
a
r'
onePartitionedCalla*
fR
f162
twoPartitionedCallone:output:0*
fR
f16"
rtwo:output:0
Å

f16
a
r'
onePartitionedCalla*
fR
f172
twoPartitionedCallone:output:0*
fR
f17"
rtwo:output:0
Å

f17
a
r'
onePartitionedCalla*
fR
f182
twoPartitionedCallone:output:0*
fR
f18"
rtwo:output:0
Å

f18
a
r'
onePartitionedCalla*
fR
f192
twoPartitionedCallone:output:0*
fR
f19"
rtwo:output:0
Å

f19
a
r'
onePartitionedCalla*
fR
f202
twoPartitionedCallone:output:0*
fR
f20"
rtwo:output:0
Å

f20
a
r'
onePartitionedCalla*
fR
f212
twoPartitionedCallone:output:0*
fR
f21"
rtwo:output:0
Å

f21
a
r'
onePartitionedCalla*
fR
f222
twoPartitionedCallone:output:0*
fR
f22"
rtwo:output:0
Å

f22
a
r'
onePartitionedCalla*
fR
f232
twoPartitionedCallone:output:0*
fR
f23"
rtwo:output:0
Å

f23
a
r'
onePartitionedCalla*
fR
f242
twoPartitionedCallone:output:0*
fR
f24"
rtwo:output:0
Å

f24
a
r'
onePartitionedCalla*
fR
f252
twoPartitionedCallone:output:0*
fR
f25"
rtwo:output:0
Å

f25
a
r'
onePartitionedCalla*
fR
f262
twoPartitionedCallone:output:0*
fR
f26"
rtwo:output:0
Å

f26
a
r'
onePartitionedCalla*
fR
f272
twoPartitionedCallone:output:0*
fR
f27"
rtwo:output:0
Å

f27
a
r'
onePartitionedCalla*
fR
f282
twoPartitionedCallone:output:0*
fR
f28"
rtwo:output:0
Å

f28
a
r'
onePartitionedCalla*
fR
f292
twoPartitionedCallone:output:0*
fR
f29"
rtwo:output:0
Å

f29
a
r'
onePartitionedCalla*
fR
f302
twoPartitionedCallone:output:0*
fR
f30"
rtwo:output:0
Å

f30
a
r'
onePartitionedCalla*
fR
f312
twoPartitionedCallone:output:0*
fR
f31"
rtwo:output:0
Å

f31
a
r'
onePartitionedCalla*
fR
f322
twoPartitionedCallone:output:0*
fR
f32"
rtwo:output:0
Å

f32
a
r'
onePartitionedCalla*
fR
f332
twoPartitionedCallone:output:0*
fR
f33"
rtwo:output:0
Å

f33
a
r'
onePartitionedCalla*
fR
f342
twoPartitionedCallone:output:0*
fR
f34"
rtwo:output:0
Å

f34
a
r'
onePartitionedCalla*
fR
f352
twoPartitionedCallone:output:0*
fR
f35"
rtwo:output:0
Å

f35
a
r'
onePartitionedCalla*
fR
f362
twoPartitionedCallone:output:0*
fR
f36"
rtwo:output:0
Å

f36
a
r'
onePartitionedCalla*
fR
f372
twoPartitionedCallone:output:0*
fR
f37"
rtwo:output:0
Å

f37
a
r'
onePartitionedCalla*
fR
f382
twoPartitionedCallone:output:0*
fR
f38"
rtwo:output:0
Å

f38
a
r'
onePartitionedCalla*
fR
f392
twoPartitionedCallone:output:0*
fR
f39"
rtwo:output:0
Å

f39
a
r'
onePartitionedCalla*
fR
f402
twoPartitionedCallone:output:0*
fR
f40"
rtwo:output:0
+

f40
a
r
yRelua"

ry:y:0