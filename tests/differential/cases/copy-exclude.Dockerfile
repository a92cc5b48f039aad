FROM registry.test/base
COPY --exclude=*.h src /a
COPY --exclude=sub/deep --exclude=*.h src /b
COPY --exclude=one.* src/one.c src/two.c /e/
COPY --exclude=sub/deep src /d
