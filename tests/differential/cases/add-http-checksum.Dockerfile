FROM registry.test/base
ADD --checksum=sha256:@DATA@ http.test/data.txt /a
