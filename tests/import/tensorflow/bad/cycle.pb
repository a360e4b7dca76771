
2
xPlaceholder*
dtype0*
shape
:

aAddxb

bRelua

cRelub