# escape=`
FROM registry.test/base
RUN echo one `
  two > /1
ENV A=a`$b
