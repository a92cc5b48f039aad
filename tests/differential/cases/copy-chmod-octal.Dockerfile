FROM registry.test/base
COPY --chmod=644 src /a
COPY --chmod=0755 a.txt /b
COPY --chmod=4755 run.sh /c
ARG m=600
COPY --chmod=$m src /d
