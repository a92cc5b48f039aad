FROM registry.test/base
COPY --parents src/sub/deep/four.c a.txt /p
COPY --parents src/./sub/deep /q
COPY --parents src/**/*.h /r/
COPY --parents ./src/*.c /s/
