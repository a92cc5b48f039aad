FROM registry.test/base
WORKDIR /app
COPY . .
WORKDIR sub
COPY a.txt b.txt ./
