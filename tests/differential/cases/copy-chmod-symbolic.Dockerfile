FROM registry.test/base
COPY --chmod=u+x,g-r a.txt /a
COPY --chmod=a=rX src /b
COPY --chmod=go-rwx sticky /c
COPY --chmod=u=rwX,go=rX . /d
