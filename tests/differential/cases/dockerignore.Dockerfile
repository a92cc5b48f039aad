FROM registry.test/base
COPY ignored /i
COPY logs /l
COPY . /all
