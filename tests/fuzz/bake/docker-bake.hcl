# comment
variable "TAG" {
  type    = list(string)
  default = ["a", "b${1 + 2}"]
  validation {
    condition     = length(TAG) > 0 && TAG[0] != ""
    error_message = "none"
  }
}
A = "x"
function "f" {
  params          = [a]
  variadic_params = rest
  result          = "${a}-${join(",", rest)}"
}
group "default" { targets = ["app", "b"] }
target "app" {
  name   = "app-${v}"
  matrix = { v = [1, 2] }
  tags   = [for i, t in TAG : f(upper(t), "${i}") if t != null]
  args = {
    B = regex_replace("a1", "([a-z])(\\d?)", "$2$${1}")
    C = target.b.args["D"]
    (A) : try(nope.x, {a = 1}.a == 1 ? "y" : -2 % 3)
  }
}
target "b" {
  args = { D = format("%05.1f|%s", 1.5, ([{n = 1}][*].n)[0]), E = { for k, v in { x = 1 } : v => k... }["1"][0] }
  dockerfile-inline = <<-EOT
    FROM scratch
    %{~ if true ~} RUN x %{ else } y %{ endif }
    %{ for x in ["q"] }${~ x ~}%{ endfor }
    EOT
}
