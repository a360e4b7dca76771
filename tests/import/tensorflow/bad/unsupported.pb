
2
xPlaceholder*
dtype0*
shape
:

oneFoox

twoBarone