FROM registry.test/base
COPY *.txt /txt/
COPY src/*.[ch] /c/
COPY s?c/one.* /one/
COPY nothing* a.txt /maybe/
COPY odd[[]1].txt /odd/
