FROM registry.test/base
RUN echo 0 > /f0
COPY a.txt /c0
RUN echo 1 > /f1
COPY a.txt /c1
RUN echo 2 > /f2
COPY a.txt /c2
RUN echo 3 > /f3
COPY a.txt /c3
RUN echo 4 > /f4
COPY a.txt /c4
RUN echo 5 > /f5
COPY a.txt /c5
RUN echo 6 > /f6
COPY a.txt /c6
RUN echo 7 > /f0
COPY a.txt /c7
RUN echo 8 > /f1
COPY a.txt /c8
RUN echo 9 > /f2
COPY a.txt /c9
RUN echo 10 > /f3
COPY a.txt /c10
RUN echo 11 > /f4
COPY a.txt /c11
