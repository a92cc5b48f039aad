FROM registry.test/base
COPY a.txt <<f src/one.c /d/
text
f
