
2
xPlaceholder*
dtype0*
shape
:

aAddxnowhere