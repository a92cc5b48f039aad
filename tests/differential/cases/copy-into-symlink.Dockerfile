FROM registry.test/base
RUN ln -s /real /alias && mkdir /real && ln -s /absent /dangling
COPY a.txt /alias/
COPY src /alias/src
COPY a.txt /dangling/x
