FROM registry.test/base
USER app
RUN id > /tmp/1 && echo $HOME > /tmp/h
USER 33:1000
RUN id > /tmp/2
USER app:www
RUN id > /tmp/3
USER 4711
RUN id > /tmp/4 && echo $HOME > /tmp/h4
