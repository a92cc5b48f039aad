FROM registry.test/base
RUN echo \
# comment

  # indented
  a \
  b > /1
ENV A=1 \
    B=2
LABEL x=\
y
