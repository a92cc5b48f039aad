FROM registry.test/base
RUN mkdir -p /r/real && ln -s real /r/packed
ADD pack.tar /r
