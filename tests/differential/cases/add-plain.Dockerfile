FROM registry.test/base
ADD a.txt src /d/
ADD --chmod=600 src/*.c /e/
ADD link-to-dir /f
