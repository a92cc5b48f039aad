FROM registry.test/base
ENV ü=ö LANG=C.UTF-8
LABEL "ключ"="значение"
RUN echo ñ > /ñandú
COPY a.txt /日本
