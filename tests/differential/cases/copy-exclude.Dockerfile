FROM registry.test/base
COPY --exclude=*.h src /a
COPY --exclude=src/sub --exclude=*.txt . /b
COPY --exclude=sub/deep src /d
