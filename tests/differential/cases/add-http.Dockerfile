FROM registry.test/base
ADD http.test/data.txt /a
ADD http.test/data.txt /dir/
ADD --chmod=644 --chown=3:4 http.test/data.txt /b
ADD http.test/pack.tar.gz /c
ADD --unpack http.test/pack.tar.gz /d
