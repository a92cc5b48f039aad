FROM scratch
ENV A=b
LABEL x=y
WORKDIR /w
COPY a.txt .
