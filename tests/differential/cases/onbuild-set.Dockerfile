FROM registry.test/base
ONBUILD RUN touch /later
ONBUILD COPY a.txt /x
ONBUILD ENV A=1
