FROM registry.test/base
ADD pack.tar /a
ADD pack.tar.gz /b/
ADD pack.tar.bz2 /c
ADD pack.tar.xz /d
ADD not-a.tar.gz /e
ADD --chown=3:4 pack.tar /f
