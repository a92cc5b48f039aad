FROM registry.test/base
COPY ["with space.txt", "/with space/"]
COPY ["a.txt", "/semi;colon"]
