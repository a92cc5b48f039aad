FROM registry.test/base
COPY --parents --exclude=**/*.h src/sub /p/
COPY --parents --chown=3:4 --chmod=700 src/sub/three.c /q/
