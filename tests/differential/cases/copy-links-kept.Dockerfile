FROM registry.test/base
COPY . /tree/
COPY links/first links/second /two/
