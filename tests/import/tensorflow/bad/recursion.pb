
2
xPlaceholder*
dtype0*
shape
:
#
yPartitionedCallx*

fR
fO
M

f
a
r'
againPartitionedCalla*

fR
f"
ragain:output:0