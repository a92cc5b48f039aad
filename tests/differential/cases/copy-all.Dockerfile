FROM registry.test/base
COPY . /all
