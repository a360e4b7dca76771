
2
xPlaceholder*
dtype0*
shape
:
$
vVarHandleOp*
shared_namev

rReadVariableOpv

yAddxr