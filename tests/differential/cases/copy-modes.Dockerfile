FROM registry.test/base
COPY sticky /sticky
COPY emptydir /emptydir
COPY b.txt /owner
COPY sticky/file run.sh /in/
