# options: --label z=cli --label a=cli
FROM registry.test/base
LABEL a=b "c d"="e f" g='h'
LABEL multi="line\
 two"
LABEL a=again
LABEL legacy one two
