FROM registry.test/base
ADD git.test/repo.git /a
ADD git.test/repo.git#v1 /b
ADD git.test/repo.git#main:docs /c
ADD --chown=3:4 git.test/repo.git#v1 /d
